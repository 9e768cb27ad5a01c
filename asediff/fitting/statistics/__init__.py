"""What a long run tells about a potential: averages, histograms of pairs, their errors, their uncertainty."""
