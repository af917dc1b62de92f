"""Phones: what UIAutomator and ADB give, recordings of it, and Chromium in a phone's stead."""
