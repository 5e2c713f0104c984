"""The tests, in folders that mirror the rooms; what needs the real Ray, Triton and Valkey is in `tests.e2e`."""
