"""Jobs on their way: events, and what a job's address shows."""
