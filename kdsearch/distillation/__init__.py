"""Losses that distil a teacher into a student, and the teacher's side of them."""
