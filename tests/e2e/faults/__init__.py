"""What clients see while servers die, hang and break off."""
