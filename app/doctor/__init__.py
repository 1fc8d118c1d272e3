"""What `batchwright doctor` looks at: each module checks one thing and gives findings; app/cli/doctor.py shows them."""
