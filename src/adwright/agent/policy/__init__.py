"""What a script may do: flows of data, origins, effects, caps, secrets; decided outside of it."""
