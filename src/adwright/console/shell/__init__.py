"""What all pages share: how they are drawn, who asks, what a form may send."""
