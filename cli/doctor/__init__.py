"""`weir doctor`: whether all is as designed, check by check."""
