"""The language model of a job: opened, asked for many texts at a time, its answers made drafts."""
