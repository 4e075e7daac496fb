"""What every notebook says of the bundled samples, kept as text: what changes it says so."""
