"""What the market says: time and price. Knows neither model nor money."""
