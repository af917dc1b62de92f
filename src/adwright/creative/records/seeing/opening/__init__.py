"""Pictures, videos and animations out of files that anybody may have made."""
