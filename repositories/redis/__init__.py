"""What Redis or Valkey keeps: sessions, locks, rate limits and news. Every key begins with `orquestra:`."""
