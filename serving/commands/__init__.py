"""What the `sluice` command can be asked, a file for each group of commands; whatever is slow is imported when used."""
