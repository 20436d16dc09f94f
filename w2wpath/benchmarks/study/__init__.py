"""The study: what cleaning finds, and what networks trained on each list of tiles do on unseen patients (Fig. 7).

``cells`` are the pieces of work, a file each; ``methods`` lists the rows; ``run`` does what is missing; ``score`` opens
the truth. The lists of ``oracle`` are the only ones that are built from the truth.
"""
