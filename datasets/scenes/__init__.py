"""Small generated pictures of coloured, textured shapes, and captions that describe them."""
