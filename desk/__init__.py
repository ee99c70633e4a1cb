"""What we do with money: orders, risk, books. Knows neither features nor feeds."""
