"""The proofs of copies: what they find, what they cost clients, and what nobody may notice of them."""
