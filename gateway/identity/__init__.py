"""Who calls: a presented credential becomes a Principal, or nothing."""
