"""Speed, memory and skill, measured. `make bench` runs them; nothing here is asserted in tests."""
