"""Reports: tables, figures and pages, drawn from the plain values they are given."""
