"""What an app can do: its states and elements, written down once, so that scripts can name them."""
