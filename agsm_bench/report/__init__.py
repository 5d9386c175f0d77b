"""Tables and pages, rebuilt from result files alone. No torch here."""
