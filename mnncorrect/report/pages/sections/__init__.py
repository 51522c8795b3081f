"""The sections of a page, one idea in each file: from facts to HTML."""
