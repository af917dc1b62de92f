"""The OpenAI protocol: its bodies, answers, tools and errors."""
