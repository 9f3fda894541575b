"""What comes with jattr: procedural faces, and generators trained on them."""
