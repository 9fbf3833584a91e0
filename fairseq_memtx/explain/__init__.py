"""Views of a translation as a page: what the decoder attended to while it wrote each subword.

`recording` listens to a decoder that writes a given translation, `views` puts together what a page
shows, `page` makes one HTML file of it.
"""
