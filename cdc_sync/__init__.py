"""cdc-sync keeps Typesense in step with PostgreSQL through Debezium and Kafka."""

__version__ = "0.1.0"
__all__ = ["__version__"]
