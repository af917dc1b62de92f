"""Tasks with solutions, made from an app's document and proved on copies of the app."""
