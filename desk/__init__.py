"""What we do with money. It knows neither features nor feeds; prices, minutes and settings come as arguments.

An order's way: entries.py or exits.py -> risk.Gate -> journal (on disk) -> Broker -> settle -> journal -> Books -> view

orders          the nouns: Order, Execution, Position, Account, Trade
risk            sizes, limits, and the gate before the wire
halt            HALT, RESUME, FLATTEN: what a person asks, and losses that halt by themselves
journal         the truth, appended and synced before an order leaves; journal_files: its lines, months and mending
books           what the journal adds up to; trade_history: its documented view; performance: what it earned
brokers         the seam: paper_broker on this machine, alpaca_broker at Alpaca
reconcile       what the books have to hear when the two are compared
alpaca_*        orders as values, one trade's orders, the hands that send them, the account that is read, the comparison
"""
