"""READ A SLIDE: tiles to maps, and the pictures and files made of them."""
