"""Run the stages within a deadline, and build, save and judge a deployment."""
