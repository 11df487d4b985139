"""The key that signs calls of Aliyun's APIs, wherever it comes from; and these calls."""
