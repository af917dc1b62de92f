"""Build what models train on: ranking tasks, next-basket tasks, choice tasks, and their splits."""
