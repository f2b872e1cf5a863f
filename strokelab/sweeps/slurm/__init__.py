"""Members of a sweep as jobs of a SLURM cluster: one job array, sent with submitit, watched through squeue.

Whether a member is done is read from its run folder; the queue only tells who is still to come. So a killed job is a
line in the table, and who watches may leave and come back.
"""
