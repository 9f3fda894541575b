"""Other methods of attribution: what ours is compared with."""
