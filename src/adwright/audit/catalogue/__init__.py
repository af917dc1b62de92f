"""The products that a shop shows, whose texts are whose, and the orders that they are shown in."""
