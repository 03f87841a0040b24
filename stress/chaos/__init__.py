"""Kills, full and lost disks, and flipped bits, over small real runs through train.py and sweep.py."""
