"""Every measure: functions on arrays, without torch."""
