"""What holds the screen: the interface of all drivers, and one file for each kind of screen."""
