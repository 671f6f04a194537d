"""What every room reads and writes files with: whole or not at all, checked before they are opened."""
