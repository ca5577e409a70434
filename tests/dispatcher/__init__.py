"""The attached dispatcher."""
