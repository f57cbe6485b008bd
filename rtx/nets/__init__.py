"""Networks, each written as named stages and a head, and the cards that say how to use them."""
