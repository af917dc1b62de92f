"""The kit of strangers: what each room does by its defaults on sets that it was not built on."""
