"""What `cdc-sync doctor` finds out: facts are gathered by reading only, then judged by pure checks."""

from cdc_sync.doctor.finding import Finding, Level

__all__ = ["Finding", "Level"]
