"""Small functions that draw one kind of figure each as an inline SVG; colours come from the page's style sheet."""
