"""What all methods that merge batches share.

The loop over merges, merge plans, mutual pairs, smoothing of pair vectors, variance adjustment
and diagnostics. A step that one method alone takes belongs to that method.
"""
