"""Small generated images of coloured, textured shapes, and the words that are true of them."""
