"""What is audited: whatever ranks the products of a catalogue for a shopper."""
