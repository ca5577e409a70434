"""End-to-end: the real PostgreSQL, Debezium and Kafka, the daemon, and an oracle of its own."""
