"""Self-training (Huo 2022): models label what nobody drew, fresh models learn from both. One command, resumable.

Teachers are trained fold by fold as members of a sweep, the best scheme by cross-validated Dice predicts the masks, and
students are trained from fresh weights as further members of the same sweep. Whatever is done already stays.
"""
