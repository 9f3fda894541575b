"""Attribution without inversion: what inversion is compared with."""
