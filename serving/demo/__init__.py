"""The demo: two versions of a real model, trained on the spot, and a tour of what Sluice does with them."""
